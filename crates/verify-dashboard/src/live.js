// Replaces the content of the page when the server reports a change. Without scripts a reload does the same.
"use strict";
const main = document.querySelector("main");
const events = new EventSource("/events");
events.addEventListener("changed", async () => {
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const next = page.querySelector("main");
  if (next.innerHTML === main.innerHTML) return;
  // Whoever reads on with the keyboard stays where they are.
  const focused = main.contains(document.activeElement) && document.activeElement.getAttribute("href");
  main.replaceChildren(...next.childNodes);
  if (focused) main.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
});
