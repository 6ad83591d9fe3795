// The map of images: shows the image under the pointer, the finger or the arrow keys; switches planes and kinds.
(() => {
  "use strict";
  const plane = document.getElementById("map-plane");
  if (!plane) return;
  const FAR = 24; // SVG units from the pointer to a mark
  const marks = [...plane.querySelectorAll("[data-kind]")].map((element) => {
    const d = element.dataset;
    const [x, y] = d.here.split(" ").map(Number);
    const [px, py] = d.there.split(" ").map(Number);
    return { element, kind: d.kind, name: d.name, tile: Number(d.tile), tsne: [x, y], pca: [px, py] };
  });
  const ring = document.getElementById("map-ring");
  const canvas = document.getElementById("map-canvas");
  const caption = document.getElementById("map-caption");
  const words = { train: "Training image", test: "Test image", synthetic: "Generated image no." };
  let view = "tsne", chosen = null;

  const visible = () => marks.filter((mark) => mark.element.style.display !== "none");

  function draw(mark) {
    const sheet = document.getElementById(mark.kind === "synthetic" ? "map-generated" : "map-real");
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!sheet || mark.tile < 0) return false;
    const w = Number(sheet.dataset.width), h = Number(sheet.dataset.height), columns = Number(sheet.dataset.columns);
    const left = (mark.tile % columns) * w, top = Math.floor(mark.tile / columns) * h;
    const scale = Math.min(canvas.width / w, canvas.height / h);
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, left, top, w, h, (canvas.width - w * scale) / 2, (canvas.height - h * scale) / 2,
      w * scale, h * scale);
    return true;
  }

  function choose(mark) {
    if (!mark || mark === chosen) return;
    chosen = mark;
    const [x, y] = mark[view];
    ring.setAttribute("transform", `translate(${x} ${y})`);
    ring.style.display = "inline";
    if (!canvas) return;
    const shown = draw(mark);
    caption.textContent = `${words[mark.kind]} ${mark.name}`.trim() + (shown ? "" : " (no picture in this file)");
  }

  function at(event) {
    const box = plane.getScreenCTM().inverse();
    const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(box);
    let best = null, least = FAR;
    for (const mark of visible()) {
      const distance = Math.hypot(mark[view][0] - spot.x, mark[view][1] - spot.y);
      if (distance < least) [best, least] = [mark, distance];
    }
    return best;
  }

  function next(key) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    let best = null, least = Infinity;
    for (const mark of visible()) {
      const x = mark[view][0] - chosen[view][0], y = mark[view][1] - chosen[view][1];
      const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
      if (mark !== chosen && ahead > 0 && ahead + 2 * aside < least) [best, least] = [mark, ahead + 2 * aside];
    }
    return best;
  }

  plane.addEventListener("pointermove", (event) => choose(at(event)));
  plane.addEventListener("pointerdown", (event) => choose(at(event)));
  plane.addEventListener("focus", () => { if (!chosen) choose(visible()[0]); });
  plane.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    choose(chosen ? next(event.key) : visible()[0]);
  });
  for (const input of document.querySelectorAll("input[name=map-view]")) {
    input.addEventListener("change", () => {
      view = input.value;
      for (const mark of marks) mark.element.setAttribute("transform", `translate(${mark[view].join(" ")})`);
      for (const text of document.querySelectorAll("[data-view]")) text.hidden = text.dataset.view !== view;
      if (chosen) ring.setAttribute("transform", `translate(${chosen[view].join(" ")})`);
    });
  }
  for (const input of document.querySelectorAll("input[data-toggle]")) {
    input.addEventListener("change", () => {
      for (const mark of marks) {
        if (mark.kind === input.dataset.toggle) mark.element.style.display = input.checked ? "" : "none";
      }
      if (chosen && chosen.element.style.display === "none") { ring.style.display = "none"; chosen = null; }
    });
  }
  for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
  const first = canvas && marks.find((mark) => mark.tile >= 0);
  window.addEventListener("load", () => choose(first)); // the sheets of pictures are read by then
})();
