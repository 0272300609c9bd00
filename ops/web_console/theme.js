// Runs before the page is drawn, so that a chosen colour scheme does not flash the other one first.
const chosen = localStorage.getItem("sluice-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
