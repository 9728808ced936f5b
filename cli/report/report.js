"use strict";
// Pictures stay blurred until somebody asks for them, one at a time or all at once.
(() => {
  const pictures = Array.from(document.querySelectorAll("button.picture"));
  const all = document.getElementById("show-all");
  const set = (picture, shown) => {
    picture.setAttribute("aria-pressed", String(shown));
    picture.setAttribute("aria-label", (shown ? "Hide: " : "Show: ") + picture.querySelector("img").alt);
  };
  const label = () => {
    if (all) all.textContent = pictures.every((p) => p.getAttribute("aria-pressed") === "true") ? "Blur all pictures" : "Show all pictures";
  };
  for (const picture of pictures) {
    set(picture, false);
    picture.addEventListener("click", () => {
      set(picture, picture.getAttribute("aria-pressed") !== "true");
      label();
    });
  }
  if (all) {
    all.hidden = false;
    all.addEventListener("click", () => {
      const show = !pictures.every((p) => p.getAttribute("aria-pressed") === "true");
      for (const picture of pictures) set(picture, show);
      label();
    });
  }
})();
