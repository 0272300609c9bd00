// Numbers with their units, times as people say them.

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const ONE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const SHORT = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const whole = (value) => WHOLE.format(value);

/** 1234567 as 1.2M, and small ones whole. */
export const short = (value) => (Math.abs(value) < 10_000 ? WHOLE.format(value) : SHORT.format(value));

export const rate = (value) => (value > 0 && value < 9.95 ? ONE.format(value) : WHOLE.format(value));

/** Milliseconds, or seconds from one second on; "–" where there is none. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 1000) return `${ONE.format(ms / 1000)} s`;
  return `${ms < 9.95 ? ONE.format(ms) : WHOLE.format(ms)} ms`;
}

/** The time of the day, with the day where that is not today. */
export function clock(iso) {
  const time = new Date(iso);
  const today = new Date().toDateString() === time.toDateString();
  return today ? CLOCK.format(time) : `${DAY.format(time)} ${CLOCK.format(time)}`;
}

export const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;
