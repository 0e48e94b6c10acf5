// Usage: node browser.mjs CHROMIUM ADDRESS [DIRECTORY for screenshots]
import { createRequire } from "node:module";
import assert from "node:assert";

const [chromium, address, screenshots] = process.argv.slice(2);
const require = createRequire(`${process.env.STATE_LAB_NODE_MODULES}/x.js`);
const puppeteer = require("puppeteer-core");
const axe = require("axe-core").source;

const browser = await puppeteer.launch({
  timeout: 120000,
  protocolTimeout: 300000,
  executablePath: `/usr/bin/${chromium}`,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60000);
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("dialog", (dialog) => { errors.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  const open = (path) => page.goto(address + path, { waitUntil: "load" });
  const text = () => page.$eval("main", (main) => main.innerText);
  const shoot = async (name) => {
    if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png` });
  };

  // The progress of a running drill changes without a reload.
  await page.setViewport({ width: 1100, height: 760 });
  await open("/");
  await page.waitForFunction(() => document.querySelector("progress"), { timeout: 60000 });
  const step = () => document.querySelector(".running p")?.innerText;
  const first = await page.evaluate(step);
  await page.evaluate(() => { window.sameDocument = true; });
  await page.waitForFunction((first) => document.querySelector(".running p")?.innerText !== first, { timeout: 60000 }, first);
  assert(await page.evaluate(() => window.sameDocument), "the page was not loaded again");
  await shoot("dashboard");

  // Hostile names are text.
  assert((await text()).includes("<script>alert(2)</script>"));
  assert.equal(await page.$("main img, main script"), null);

  // The keyboard alone reaches every link, and each shows that it has the focus.
  for (const path of ["/", "/history"]) {
    await open(path);
    const links = await page.$$eval("a[href]", (all) => all.length);
    const reached = new Set();
    for (let i = 0; i < links + 5; i += 1) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => {
        const active = document.activeElement;
        const index = [...document.querySelectorAll("a[href]")].indexOf(active);
        return index >= 0 && getComputedStyle(active).outlineStyle === "none" ? "no outline" : index;
      }));
    }
    reached.delete(-1);
    assert.equal(reached.size, links, `${path}: ${[...reached]}`);
    assert(!reached.has("no outline"));
  }
  await open("/");
  await page.focus('a[href="/runs/21"]');
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert(page.url().endsWith("/runs/21"));

  // Contrast and the rest of axe-core's rules, light and dark, wide and narrow; nothing is cut off at 360 pixels.
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    for (const width of [1100, 360]) {
      await page.setViewport({ width, height: 760 });
      for (const path of ["/", "/history", "/storage", "/doctor", "/runs/2", "/runs/21", "/nothing"]) {
        await open(path);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert(wider <= 0, `${path} is ${wider} pixels wider than ${width}`);
        const result = await page.evaluate(`(async () => { const module = {}; ${axe}; return await axe.run(document); })()`);
        const violations = result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" | ")}`);
        assert.deepEqual(violations, [], `${path} ${scheme} ${width}`);
        const name = { "/history": "history", "/runs/2": "report" }[path];
        if (name && scheme === "light" && width === 1100) await shoot(name);
        if (path === "/" && scheme === "dark" && width === 360) await shoot("dashboard-narrow-dark");
      }
    }
  }
  const expected = (error) => error.includes("404");
  assert.deepEqual(errors.filter((error) => !expected(error)), []);
  console.log("all checks passed");
} finally {
  await browser.close();
}
