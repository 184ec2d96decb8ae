"use strict";
const tip = document.getElementById("tip");
const marks = new Map();
function place(event) {
  const gap = 14, right = event.clientX + gap + tip.offsetWidth > innerWidth, low = event.clientY + gap + tip.offsetHeight > innerHeight;
  const x = right ? Math.max(4, event.clientX - gap - tip.offsetWidth) : event.clientX + gap;
  const y = low ? Math.max(4, event.clientY - gap - tip.offsetHeight) : event.clientY + gap;
  tip.style.transform = "translate(" + x + "px," + y + "px)";
}
for (const mark of document.querySelectorAll("g[data-n]")) {
  const title = mark.querySelector("title"), text = title.textContent, key = mark.dataset.n;
  title.remove(); // the browser's own tooltip is late, and would cover ours
  marks.set(key, (marks.get(key) || []).concat(mark));
  const light = (on) => marks.get(key).forEach((each) => each.classList.toggle("on", on));
  mark.addEventListener("pointerenter", (event) => { tip.textContent = text; tip.hidden = false; light(true); place(event); });
  mark.addEventListener("pointermove", place);
  mark.addEventListener("pointerleave", () => { tip.hidden = true; light(false); });
}
