/** Reaches into the page. */

/** @param {string} id @returns {any} the element, which is on the page */
export const find = (id) => document.getElementById(id);

/** @returns {Promise<string>} the key that was typed */
export function askForKey() {
  const dialog = find("key-dialog");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(find("key").value), { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
