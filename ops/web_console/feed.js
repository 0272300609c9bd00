// The worker's server-sent events, read with fetch because an EventSource cannot send the token's header.

const TOKEN = "sluice-token";
const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;
const SILENCE = 15_000;

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Asks the worker and returns its JSON; raises Refused with what it says otherwise. */
export async function ask(path, body) {
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { ...tokenHeader(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response.json();
  throw await refusal(response);
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

function tokenHeader() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function refusal(response) {
  const told = await response.json().catch(() => null);
  return new Refused(response.status, told?.error?.message ?? `the worker answered ${response.status}`);
}

/**
 * Listens for ever: `on.hello` and `on.snapshot` get what comes, `on.state` gets "live", "lost" with the seconds to the
 * next try, and `on.token` is asked for a token (a promise) when the worker wants one and there is none, or a wrong one.
 */
export async function listen(on) {
  if (on.guarded && !sessionStorage.getItem(TOKEN)) keepToken(await on.token());
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try {
      await once({ ...on, hello: (hello) => { wait = FIRST_WAIT; on.hello(hello); } });
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        keepToken(await on.token(error.message));
        wait = FIRST_WAIT;
        continue;
      }
    }
    on.state("lost", wait / 1000);
    await new Promise((resolve) => setTimeout(resolve, wait));
    on.state("connecting");
  }
}

async function once(on) {
  const stop = new AbortController();
  let alarm;
  const heard = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => stop.abort(), SILENCE);
  };
  heard();
  try {
    const response = await fetch("/console/feed", { headers: tokenHeader(), signal: stop.signal });
    if (!response.ok) throw await refusal(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) take(event, on);
    }
  } finally {
    clearTimeout(alarm);
    stop.abort();
  }
}

function take(event, on) {
  const [name, data] = event.split("\n");
  const found = JSON.parse(data.slice("data: ".length));
  if (name === "event: hello") on.hello(found);
  else {
    on.state("live");
    on.snapshot(found);
  }
}
