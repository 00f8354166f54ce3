// Starts a demo node, opens every view of its console in Chromium at two sizes and themes, takes pictures, and fails on any
// axe-core finding, console error or horizontal scroll. Environment: CSF (binary), OUT (folder).
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const VIEWS = ["overview", "graph", "topics", "why", "node"];
/** What is selected in a view, where there is something to select. */
const selected = { topics: "nav.state" };
const SIZES = [[1280, 800], [390, 844]];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

/** Starts `csf up --demo` and resolves to the printed login address. */
function startNode(state) {
  const node = spawn(process.env.CSF, ["up", "--demo", "--speed", "20", "--listen", "127.0.0.1:0"],
    { env: { ...process.env, CSF_STATE: state }, stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let out = "", err = "";
    node.stderr.on("data", (d) => { err += d; });
    node.on("exit", () => reject(new Error(`node ended early\n${err}`)));
    node.stdout.on("data", (d) => {
      out += d;
      const address = out.match(/http:\/\/\S+login\?code=\w+/);
      // The flight is over when its summary is printed.
      if (address && out.includes("prove it")) resolve({ node, address: address[0] });
    });
  });
}

async function main() {
  const state = fs.mkdtempSync(path.join(os.tmpdir(), "csf-shots-"));
  const { node, address } = await startNode(state);
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const faults = [];
  let pages = 0;
  try {
    const context = await browser.newContext({ bypassCSP: true });
    const first = await context.newPage();
    await first.goto(address);
    const newest = await (await context.request.get(`${new URL(address).origin}/api/v1/topics/nav.score/last`)).json();
    selected.why = newest.id;
    await first.close();
    for (const scheme of ["dark", "light"]) {
      for (const [width, height] of SIZES) {
        for (const view of VIEWS) {
          const page = await context.newPage();
          await page.setViewportSize({ width, height });
          await page.emulateMedia({ colorScheme: scheme });
          page.on("console", (m) => { if (m.type() === "error") faults.push(`${view} ${width} ${scheme}: ${m.text()}`); });
          page.on("pageerror", (e) => faults.push(`${view} ${width} ${scheme}: ${e.message}`));
          await page.goto(`${new URL(address).origin}/#/${[view, selected[view]].filter(Boolean).join("/")}`);
          await page.waitForSelector("main[data-ready=true]", { timeout: 20000 });
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          if (wide > 0) faults.push(`${view} ${width} ${scheme}: scrolls ${wide} px sideways`);
          await page.evaluate(axe);
          const report = await page.evaluate(() => window.axe.run());
          for (const v of report.violations) {
            faults.push(`${view} ${width} ${scheme}: axe ${v.id}: ${v.help} (${v.nodes.map((n) => n.target).join(", ")})`);
          }
          await page.screenshot({ path: path.join(process.env.OUT, `${view}-${width}x${height}-${scheme}.png`) });
          await page.close();
          pages += 1;
        }
      }
    }
  } finally {
    await browser.close();
    node.removeAllListeners("exit");
    const ended = new Promise((resolve) => node.on("exit", resolve));
    node.kill("SIGINT");
    await ended;
    fs.rmSync(state, { recursive: true, force: true });
  }
  for (const fault of faults) console.error(fault);
  console.log(`${pages} pages, ${faults.length} faults, pictures in ${process.env.OUT}`);
  process.exit(faults.length === 0 ? 0 : 1);
}

main().catch((error) => { console.error(error); process.exit(1); });
