// node chromium.mjs START_URL USER PASSWORD PICTURE: a real headless Chromium opens Keyfob's start page, logs in and
// consents at the authorization server, and ends where Keyfob sends it. Prints {url, status, title, text, problems} as JSON.
// $MODULES: the node_modules with playwright-core; $CHROMIUM: the browser (default: Debian's).
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';

const [start, user, password, picture] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(path.join(process.env.MODULES, 'playwright-core/index.mjs')));
const home = new URL(start).origin;
const MOST_PAGES = 12;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  // --no-sandbox: CI runs as root, where Chromium's sandbox refuses to start. The rest keeps it from calling home.
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 700 }, reducedMotion: 'reduce' });
  const problems = [];
  let document; // the answer to the latest navigation
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type()) && page.url().startsWith(home)) problems.push(message.text()); });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('response', (response) => { if (response.request().isNavigationRequest()) document = response; });

  await page.goto(start);
  for (let i = 0; i < MOST_PAGES && !page.url().startsWith(home); i += 1) {
    const secret = page.locator('input[type=password]');
    if (await secret.count()) {
      await page.locator('input[type=text]').first().fill(user);
      await secret.fill(password);
    }
    await page.locator('button[type=submit]').first().click();
    await page.waitForLoadState('load');
  }
  await page.waitForLoadState('networkidle');
  await page.screenshot({ path: picture, fullPage: true });
  console.log(JSON.stringify({ url: page.url(), status: document.status(), title: await page.title(), text: await page.innerText('body'), problems }));
} finally {
  await browser.close();
}
