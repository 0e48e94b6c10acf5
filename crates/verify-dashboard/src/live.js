// Replaces the content of the page when the server reports a change. Without scripts a reload does the same.
"use strict";
const main = document.querySelector("main");
const events = new EventSource("/events");
events.addEventListener("changed", async () => {
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  main.replaceChildren(...page.querySelector("main").childNodes);
});
