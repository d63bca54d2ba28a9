// The page in a browser: `page.mjs URL CHROMIUM SCREENSHOT`; it ends with 0 if a person can use it, by keyboard too.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [url, executablePath, screenshot] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const TEXTS = [
  "How do I cook rice?",
  "Boiling rice takes twenty minutes on a low flame.",
  "The stock market fell sharply on Monday.",
  "ご飯の炊き方を教えてください。",
  "お米を炊くには、水を入れて弱火で二十分かけます。",
  "株式市場は月曜日に急落した。",
  "<img src=x onerror=alert(1)> & <b>not markup</b>",
];

const browser = await chromium.launch({
  executablePath,
  // No name but the gateway's leads anywhere, so whatever the page needs comes from the gateway.
  args: ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu"],
});
try {
  for (const colorScheme of ["light", "dark"]) await look(colorScheme);
} finally {
  await browser.close();
}

async function look(colorScheme) {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1100, height: 900 } });
  const requests = [];
  const faults = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
  page.on("dialog", (dialog) => faults.push(`a dialog: ${dialog.message()}`));

  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("health").textContent.includes("ready"));
  await accessible(page, "before a text is embedded");

  // By keyboard alone: the order is the one on the screen, and nothing is left out.
  const order = [];
  for (let at = 0; at < 8; at++) {
    await page.keyboard.press("Tab");
    order.push(await page.evaluate(() => {
      const at = document.activeElement;
      return at.id || at.className || at.getAttribute("href");
    }));
    assert.notEqual(await outline(page), "none", `the focus on ${order.at(-1)} isn't seen`);
  }
  assert.deepEqual(order, ["skip", "texts", "model", "role", "key", "go", "state", "openapi.json"]);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "go");

  await page.getByLabel("Texts, one a line, in any language").fill(TEXTS.join("\n"));
  await page.getByRole("button", { name: "Embed" }).focus();
  await page.keyboard.press("Enter");
  await embedded(page, TEXTS.length);

  // A row each, with where it went.
  const rows = await page.locator("#rows tbody tr").allInnerTexts();
  assert.equal(rows.length, TEXTS.length);
  assert.ok(rows[0].includes("all-minilm/") && rows[0].includes("en"), rows[0]);
  assert.ok(rows[3].includes("multilingual-e5-small/") && rows[3].includes("ja"), rows[3]);
  assert.ok(rows[6].includes("<img src=x onerror=alert(1)>"), "a text is shown as it is");

  // The heat map: texts of one space have a colour for how close they are, and those of two have none.
  const cells = await page.locator("#heat tbody tr").evaluateAll((lines) =>
    lines.map((line) => [...line.querySelectorAll("td")].map((cell) => ({
      value: cell.textContent,
      label: cell.getAttribute("aria-label"),
      colour: getComputedStyle(cell).backgroundColor,
    }))),
  );
  assert.equal(cells.length, TEXTS.length);
  assert.ok(cells.every((line) => line.length === TEXTS.length));
  cells.forEach((line, at) => assert.equal(line[at].value, "1.00", `text ${at} is like itself`));
  assert.deepEqual([cells[0][3].value, cells[0][3].label], ["", "two spaces"]);
  assert.ok(Number(cells[3][4].value) > Number(cells[3][5].value), "rice is closer to rice than to the stock market");
  assert.notEqual(cells[3][4].colour, cells[3][5].colour);
  assert.notEqual(cells[3][3].colour, cells[3][4].colour, "a text with itself isn't the best pair");
  assert.equal(await page.locator("#heat .best").count(), 4, "the best pair of each space, both ways");
  assert.ok(cells.flat().every((cell) => cell.value !== "-0.00"));
  const scales = await page.locator("#scales li").allInnerTexts();
  assert.equal(scales.length, 2, "a legend for each space");
  assert.ok(scales.every((scale) => /^-?\d\.\d\d .*\d\.\d\d: .*\//s.test(scale)), scales.join("; "));
  await accessible(page, "with results");
  await page.screenshot({ path: screenshot.replace(".png", `-${colorScheme}.png`), fullPage: true });

  // The other way to embed, without leaving the texts.
  await page.locator("#texts").fill("one text\n\nanother text");
  await page.locator("#texts").press("Control+Enter");
  await embedded(page, 2);

  // What is wrong is said where a screen reader hears it.
  await page.locator("#texts").fill("  \n ");
  await page.locator("#go").click();
  assert.equal(await page.getByRole("status").nth(1).innerText(), "Type a text first.");

  // On a narrow screen nothing sticks out: wide tables scroll by themselves.
  await page.setViewportSize({ width: 360, height: 740 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `the page is ${width} pixels wide on a screen of 360`);

  assert.deepEqual(faults, []);
  const strange = requests.filter((address) => !address.startsWith(url) && !address.startsWith("data:"));
  assert.deepEqual(strange, [], "a request left the gateway's origin");
  assert.ok(requests.some((address) => address.endsWith("/v1/embeddings")));
  await page.close();
}

async function embedded(page, count) {
  const said = `${count} of ${count} texts embedded`;
  await page.waitForFunction((said) => document.getElementById("message").textContent.startsWith(said), said);
}

/** What axe finds that keeps people out. */
async function accessible(page, when) {
  // The page lets no script in; axe is handed to the browser from outside.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: axe });
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(found, [], when);
}

async function outline(page) {
  return page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
}
