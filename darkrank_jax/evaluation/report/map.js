"use strict";
// The tooltip of the maps: by mouse, by touch, and by arrow keys from image to image.
for (const map of document.querySelectorAll(".map")) {
  const tip = map.querySelector(".tip");
  const sheet = tip.querySelector(".window");
  const text = tip.querySelector(".tip-text");
  const points = [...map.querySelectorAll(".point[data-image]")];
  const chooser = map.querySelector(".chooser");
  const select = chooser.querySelector("select");
  let current = null;
  let listed = "";

  const centre = (point) => {
    const box = point.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };

  const light = (group) => {
    map.classList.toggle("lit", group !== "");
    for (const point of points) {
      point.classList.toggle("same", group !== "" && point.dataset.class === group);
    }
  };

  const show = (point) => {
    if (point === current) return;
    current = point;
    const image = Number(point.dataset.image);
    for (const other of points) {
      other.classList.toggle("twin", Number(other.dataset.image) === image);
    }
    light(point.dataset.class);
    text.textContent = point.getAttribute("aria-label");
    if (sheet) {
      const { width, height, columns } = sheet.dataset;
      const scale = Math.max(1, Math.floor(96 / Math.max(width, height)));
      sheet.style.width = width * scale + "px";
      sheet.style.height = height * scale + "px";
      const left = (image % columns) * width * scale;
      const top = Math.floor(image / columns) * height * scale;
      const picture = sheet.querySelector("img");
      picture.style.width = picture.getAttribute("width") * scale + "px";
      picture.style.transform = `translate(${-left}px, ${-top}px)`;
    }
    tip.hidden = false;
    const [x, y] = centre(point);
    const frame = map.getBoundingClientRect();
    const right = Math.max(0, frame.width - tip.offsetWidth);
    tip.style.left = Math.min(right, Math.max(0, x - frame.left - tip.offsetWidth / 2)) + "px";
    const above = y - frame.top - tip.offsetHeight - 14;
    tip.style.top = (y - tip.offsetHeight - 14 < 0 ? y - frame.top + 14 : above) + "px";
  };

  const hide = () => {
    if (current === null) return;
    current = null;
    tip.hidden = true;
    for (const point of points) point.classList.remove("twin");
    light(listed);
  };

  // The next point in a direction: a step aside costs twice a step ahead.
  const next = (from, mates, dx, dy) => {
    const [x, y] = centre(from);
    let best = null;
    let least = Infinity;
    for (const point of mates) {
      const [u, v] = centre(point);
      const ahead = (u - x) * dx + (v - y) * dy;
      const aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      if (point !== from && ahead > 0 && ahead + 2 * aside < least) {
        least = ahead + 2 * aside;
        best = point;
      }
    }
    return best;
  };

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const drawing of map.querySelectorAll("figure > svg")) {
    const mates = points.filter((point) => drawing.contains(point));
    drawing.addEventListener("pointermove", (event) => {
      let best = null;
      let least = 20;
      for (const point of mates) {
        const [x, y] = centre(point);
        const distance = Math.hypot(x - event.clientX, y - event.clientY);
        if (distance < least) {
          least = distance;
          best = point;
        }
      }
      if (best) show(best);
      else hide();
    });
    drawing.addEventListener("pointerleave", hide);
    drawing.addEventListener("focusin", (event) => show(event.target));
    drawing.addEventListener("focusout", hide);
    drawing.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      const to = next(event.target, mates, ...steps[event.key]);
      if (!to) return;
      event.target.setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus({ preventScroll: true });
    });
  }

  chooser.hidden = false;
  select.addEventListener("change", () => {
    listed = select.value;
    light(listed);
  });
}
