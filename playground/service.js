/** The service that makes the music: its limits, its key, its events, and waiting for it when it is not there. */

/**
 * @typedef {object} StreamEvent
 * @property {string} name
 * @property {any} data
 */

const KEY = "key";
const POLL_MS = 500;

/** An answer that is no success, in the service's own words. */
export class ServiceError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {number} [retrySeconds] after which the service may have room
   */
  constructor(status, message, retrySeconds) {
    super(message);
    this.status = status;
    this.retrySeconds = retrySeconds;
  }
}

/** The service does not answer at all: it is not there, or it is starting. */
export class Unreachable extends Error {}

export class Service {
  /** @param {() => Promise<string>} askForKey shows a dialogue, and returns what was typed */
  constructor(askForKey) {
    this.askForKey = askForKey;
  }

  /** @returns {Promise<any>} what /openapi.json says */
  async describe() {
    return (await this.#send("openapi.json")).json();
  }

  /**
   * Send a request, and yield what happens. Ending the loop or aborting the signal stops the work.
   * @param {Record<string, unknown>} body
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<StreamEvent>}
   */
  async *stream(body, signal) {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, signal };
    const response = await this.#send("predict/stream", { ...options, body: JSON.stringify(body) });
    if (!response.body) throw new Unreachable();
    yield* readEvents(response.body);
  }

  /**
   * Return once the service is ready.
   * @param {AbortSignal} signal gives up waiting
   */
  async ready(signal) {
    for (;;) {
      signal.throwIfAborted();
      const response = await fetch("health", { signal }).catch(() => undefined);
      if (response?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /**
   * Send a request with the key, if one is needed; ask for it until it is right.
   * @param {string} path
   * @param {RequestInit} [options]
   * @returns {Promise<Response>}
   */
  async #send(path, options = {}) {
    for (;;) {
      const key = sessionStorage.getItem(KEY);
      const headers = { ...options.headers, ...(key ? { "X-API-Key": key } : {}) };
      const response = await fetch(path, { ...options, headers }).catch((error) => {
        if (options.signal?.aborted) throw error;
        throw new Unreachable();
      });
      if (response.ok) return response;
      if (response.status !== 401) throw await readError(response);
      sessionStorage.setItem(KEY, await this.askForKey());
    }
  }
}

/** @param {Response} response @returns {Promise<Error>} */
async function readError(response) {
  const body = await response.json().catch(() => ({}));
  if (response.status === 503) return new Unreachable(sentence(body.detail));
  const seconds = Number(response.headers.get("Retry-After"));
  return new ServiceError(response.status, sentence(body.detail) || response.statusText, seconds || undefined);
}

/**
 * Return what an error's detail says: a sentence, or one for each field that is wrong.
 * @param {unknown} detail
 * @returns {string}
 */
export function sentence(detail) {
  if (!Array.isArray(detail)) return typeof detail === "string" ? detail : "";
  return detail.map(({ loc, msg }) =>
    `${loc.filter((/** @type {unknown} */ at) => at !== "body").at(-1) ?? "request"}: ${msg}`
  )
    .join("; ");
}

/**
 * Read server-sent events.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<StreamEvent>}
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new Unreachable();
      });
      if (done) return;
      const events = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = events.pop() ?? "";
      for (const text of events) {
        const name = /^event: ?(.*)$/m.exec(text)?.[1], data = /^data: ?(.*)$/m.exec(text)?.[1];
        if (name && data) yield { name, data: JSON.parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
