/** A file in the address of the page: `#name=song.mid&midi=` and its bytes in base64url. `client.py play` opens it so. */

/**
 * Take the file out of the address, where it is far too long to stay.
 * @returns {File | undefined}
 */
export function takeLinkedFile() {
  const values = new URLSearchParams(location.hash.slice(1)), text = values.get("midi");
  if (text === null) return undefined;
  history.replaceState(null, "", location.pathname + location.search);
  let bytes = new Uint8Array();
  try {
    bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  } catch {
    // It is no base64: an empty file, of which the page says that it cannot be opened.
  }
  return new File([bytes], values.get("name") ?? "link.mid");
}
