/** What the keys do. */

/**
 * @typedef {object} Commands by the key's own name, as browsers give it
 * @property {(event: KeyboardEvent) => boolean} before takes a key before all others, if it returns true
 * @property {Record<string, (event: KeyboardEvent) => void>} anywhere
 * @property {Record<string, (event: KeyboardEvent) => void>} canvas only while the roll has the focus
 */

const TYPING = "input:not([type=checkbox], [type=radio], [type=range]), select, textarea";
const PRESSED_BY_SPACE = "button, summary, input, select, a";

/** @param {HTMLElement} canvas @param {Commands} commands */
export function listenToKeys(canvas, commands) {
  const handle = (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (document.querySelector("dialog[open]") || target.matches(TYPING)) return;
    if (commands.before(event)) return event.preventDefault();
    if (event.type === "keyup") return;
    const name = keyName(event);
    // Space presses the button that has the focus, as everywhere; on the position and the roll it plays.
    if (name === "Space" && target.matches(PRESSED_BY_SPACE) && !target.matches("[type=range]")) return;
    if (target.matches("[type=range], [type=radio]") && /Arrow|Home|End/.test(name)) return;
    const command = target === canvas && commands.canvas[name] || commands.anywhere[name];
    if (!command) return;
    event.preventDefault();
    command(event);
  };
  addEventListener("keydown", handle);
  addEventListener("keyup", handle);
}

/** @param {KeyboardEvent} event @returns {string} such as "Ctrl+Z", "Shift+ArrowLeft", "g" */
function keyName({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  if (altKey) return "";
  if (key === " ") return "Space";
  if (ctrlKey || metaKey) return `Ctrl+${shiftKey ? "Shift+" : ""}${key.toLowerCase()}`;
  return key.length === 1 ? key.toLowerCase() : `${shiftKey ? "Shift+" : ""}${key}`;
}
