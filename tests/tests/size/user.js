// Does what a user does, and writes down what there is to see. Runs behind the page's own script.
addEventListener("load", async () => {
  const map = document.getElementById("map");
  const frame = map.getBoundingClientRect();
  const boxes = () => [...map.querySelectorAll("a")];
  const outside = (box) => {
    const r = box.getBoundingClientRect();
    return r.left < frame.left - 1 || r.top < frame.top - 1 || r.right > frame.right + 1 || r.bottom > frame.bottom + 1;
  };
  const look = () => {
    const top = boxes().filter((box) => !box.classList.contains("deep"));
    const area = (box) => { const r = box.getBoundingClientRect(); return r.width * r.height; };
    return {
      rectangles: boxes().length,
      outside: boxes().filter(outside).length,
      filled: top.reduce((sum, box) => sum + area(box), 0) / (frame.width * frame.height),
      top: top.map((box) => box.getAttribute("aria-label")),
      here: document.querySelector("#path [aria-current]").textContent,
      largest: document.querySelectorAll("#largest tr").length,
    };
  };
  const moved = () => new Promise((done) => addEventListener("hashchange", () => setTimeout(done), { once: true }));
  const seen = { start: look() };

  const { left, top } = boxes()[0].getBoundingClientRect();
  const target = document.elementFromPoint(left + 9, top + 9);
  target.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: left + 9, clientY: top + 9 }));
  seen.tip = document.getElementById("tip").textContent;
  let done = moved();
  target.closest("a").click();
  await done;
  seen.inside = look();

  done = moved();
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  await done;
  seen.back = look();

  document.querySelector("input[value=plain]").click();
  seen.plain = look();
  const pre = document.createElement("pre");
  pre.id = "seen";
  pre.textContent = JSON.stringify(seen);
  document.body.append(pre);
});
