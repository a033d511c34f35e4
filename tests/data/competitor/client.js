// A client that refreshes a shared Claude login the way the vendor's CLI does: proper-lockfile, three locks in order,
// re-read, one POST, compare, temp file and rename. Usage: node client.js DIR TOKEN_URL SECONDS
const fs = require('fs');
const path = require('path');
const http = require('http');
const lockfile = require('proper-lockfile');

const [dir, tokenUrl, seconds] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const file = path.join(dir, '.credentials.json');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const read = () => JSON.parse(fs.readFileSync(file, 'utf8'));
const isDue = (doc) => doc.claudeAiOauth.expiresAt <= Date.now();

// The library remembers its locks by their first argument, so each needs one of its own.
const locked = (name, stale) =>
  lockfile.lock(name, { lockfilePath: name, stale, update: 5000, realpath: false, onCompromised: () => {} });

function post(refreshToken) {
  const body = JSON.stringify({
    grant_type: 'refresh_token', refresh_token: refreshToken, client_id: '9d1c250a-e61b-44d9-88ed-5944d1962f5e',
  });
  return new Promise((resolve, reject) => {
    const request = http.request(tokenUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'user-agent': 'node-client' },
    }, (response) => {
      let text = '';
      response.on('data', (chunk) => { text += chunk; });
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function refresh() {
  const held = [];
  try {
    held.push(await locked(path.join(dir, '.oauth_refresh.lock'), 60000));
    held.push(await locked(fs.realpathSync(dir) + '.lock', 60000));
    const before = read();
    if (!isDue(before)) return;
    const posted = before.claudeAiOauth.refreshToken;
    const answer = await post(posted);
    if (answer.status !== 200) { console.log('refused', answer.status); return; }
    const grant = JSON.parse(answer.text);
    const store = path.join(dir, '.storage-write.lock');
    held.push(await lockfile.lock(store, {
      lockfilePath: store, stale: 15000, update: 5000, realpath: false,
      retries: { retries: 10, minTimeout: 100, maxTimeout: 700 }, onCompromised: () => {},
    }));
    const doc = read();
    if (doc.claudeAiOauth.refreshToken !== posted) { console.log('lost race'); return; }
    doc.claudeAiOauth.accessToken = grant.access_token;
    doc.claudeAiOauth.refreshToken = grant.refresh_token;
    doc.claudeAiOauth.expiresAt = Date.now() + grant.expires_in * 1000;
    const temp = `${file}.node-${process.pid}`;
    const fd = fs.openSync(temp, 'wx', 0o600);
    fs.writeSync(fd, JSON.stringify(doc, null, 2));
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    fs.renameSync(temp, file);
    console.log('refreshed');
  } catch (error) {
    if (error.code !== 'ELOCKED') console.log('error', error.message);
  } finally {
    for (const release of held.reverse()) await release().catch(() => {});
  }
}

(async () => {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    await sleep(50 + Math.random() * 400);
    if (isDue(read())) await refresh();
  }
})();
