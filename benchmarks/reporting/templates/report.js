"use strict";
const byId = id => document.getElementById(id);

// One of several blocks, chosen by a list.
function choose(list, attribute) {
  if (list) list.addEventListener("change", () => {
    for (const block of document.querySelectorAll(`[data-${attribute}]`)) block.hidden = block.dataset[attribute] !== list.value;
  });
}
choose(byId("curve"), "curve");
choose(byId("matrix"), "matrix");

const photos = [...document.querySelectorAll("[data-photo]")];
let shown = 0;

// Which two variants are seen, the one before below or left of the one after.
function compare() {
  const before = byId("before").value, after = byId("after").value;
  for (const panel of photos[shown].querySelectorAll("[data-panel]")) {
    const name = panel.dataset.panel;
    panel.hidden = name !== before && name !== after;
    panel.classList.toggle("before", name === before);
    panel.classList.toggle("after", name === after && name !== before);
  }
  for (const line of photos[shown].querySelectorAll("[data-changes]")) {
    line.hidden = line.dataset.changes !== before && line.dataset.changes !== after;
  }
}
function cut(percent) {
  byId("cut").value = percent;
  byId("gallery").style.setProperty("--cut", `${byId("cut").value}%`);
}
function show(number, addressed) {
  shown = (number + photos.length) % photos.length;
  photos.forEach((figure, i) => { figure.hidden = i !== shown; });
  document.querySelectorAll("[data-thumbnail]").forEach((link, i) => {
    link.toggleAttribute("aria-current", i === shown);
    if (i === shown) link.parentNode.parentNode.scrollLeft = link.parentNode.offsetLeft - 40;
  });
  byId("count").textContent = `${shown + 1} of ${photos.length}`;
  byId("after").value = photos[shown].dataset.opens;
  compare();
  if (!addressed) history.replaceState(null, "", `#${photos[shown].id}`);
}
function mode(name) {
  byId("gallery").dataset.mode = name;
  byId("sliding").hidden = name !== "slider";
  document.querySelectorAll("[data-mode]").forEach(one => {
    if (one.tagName === "BUTTON") one.setAttribute("aria-pressed", String(one.dataset.mode === name));
  });
}
// The photo in the page's address, if it names one.
function addressed() {
  const place = photos.findIndex(figure => figure.id === location.hash.slice(1));
  if (place >= 0) show(place, true);
  return place >= 0;
}
function inSight(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}
if (photos.length) {
  byId("before").value = byId("gallery").dataset.base;
  byId("previous").addEventListener("click", () => show(shown - 1));
  byId("next").addEventListener("click", () => show(shown + 1));
  byId("before").addEventListener("change", compare);
  byId("after").addEventListener("change", compare);
  byId("cut").addEventListener("input", () => cut(byId("cut").value));
  byId("annotated").addEventListener("change", () => byId("gallery").classList.toggle("bare", !byId("annotated").checked));
  document.querySelectorAll("button[data-mode]").forEach(one => one.addEventListener("click", () => mode(one.dataset.mode)));
  document.querySelectorAll("[data-thumbnail]").forEach((link, i) => link.addEventListener("click", event => {
    event.preventDefault();
    show(i);
  }));
  for (const panels of document.querySelectorAll(".panels")) {
    const drag = event => {
      if (byId("gallery").dataset.mode !== "slider" || !(event.buttons & 1)) return;
      const box = panels.getBoundingClientRect();
      cut(100 * (event.clientX - box.left) / box.width);
    };
    panels.addEventListener("pointerdown", event => { panels.setPointerCapture(event.pointerId); drag(event); });
    panels.addEventListener("pointermove", drag);
  }
  addEventListener("hashchange", addressed);
  addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea, .scroll") || !inSight(byId("gallery"))) return;
    event.preventDefault();
    show(shown + step);
  });
  mode("slider");
  cut(50);
  if (!addressed()) show(0, true);
}

const settings = byId("settings");
let opened = false;
if (settings) {
  addEventListener("beforeprint", () => { opened = settings.open; settings.open = true; });
  addEventListener("afterprint", () => { settings.open = opened; });
}
