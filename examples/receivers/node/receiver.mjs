/**
 * Takes CircleCI's events from circleci-relay: verified, each once, stored before it is answered.
 *
 * Node 22.13 or newer, and nothing else: `node receiver.mjs`. Settings are environment variables:
 *
 * CIRCLECI_WEBHOOK_SECRETS  for /circleci: CircleCI's own secret, or several with spaces between
 * RELAY_SIGNING_SECRETS     for /signed: those under `sign.secrets` in relay.yaml, whsec_...
 * DATABASE, PORT            receiver.db and 9000 unless you say otherwise
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";

const words = (text) => (text ?? "").split(/\s+/).filter(Boolean);
const CIRCLECI = words(process.env.CIRCLECI_WEBHOOK_SECRETS);
const SIGNED = words(process.env.RELAY_SIGNING_SECRETS);
const LONGEST = 1 << 20; // bytes of a body; the relay takes in no more, unless told otherwise
const TOLERANCE = 300; // seconds that a signed timestamp may be off

const database = new DatabaseSync(process.env.DATABASE ?? "receiver.db");
database.exec(`
  PRAGMA busy_timeout = 5000;
  CREATE TABLE IF NOT EXISTS taken (key TEXT PRIMARY KEY, at REAL NOT NULL);
  CREATE TABLE IF NOT EXISTS workflows (
    id TEXT PRIMARY KEY, project TEXT, name TEXT, status TEXT, happened_at TEXT
  );
`);

/** A request that is not taken, and why. */
class Refused extends Error {
  constructor(status, why) {
    super(why);
    this.status = status;
  }
}

/** Compare in constant time; timingSafeEqual throws where lengths differ. */
function same(expected, given) {
  const [one, other] = [Buffer.from(expected), Buffer.from(given)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/** Check CircleCI's own signature; body is what was sent, before any parsing. */
function verifyCircleci(body, headers) {
  const parts = (headers["circleci-signature"] ?? "").split(",").map((part) => part.trim());
  const given = parts.find((part) => part.startsWith("v1="))?.slice(3) ?? "";
  for (const secret of CIRCLECI) {
    if (same(createHmac("sha256", secret).update(body).digest("hex"), given)) return;
  }
  throw new Refused(401, "no secret of ours made this circleci-signature");
}

/** Check a signature of Standard Webhooks, which the relay makes where it has `sign`. */
function verifySigned(body, headers) {
  const stamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d{1,12}$/.test(stamp) || Math.abs(Date.now() / 1000 - Number(stamp)) > TOLERANCE) {
    throw new Refused(401, "too old, or a clock is wrong");
  }
  const given = (headers["webhook-signature"] ?? "").split(" ").map((one) => one.slice(3));
  for (const secret of SIGNED) {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const hmac = createHmac("sha256", key).update(`${headers["webhook-id"]}.${stamp}.`);
    const expected = hmac.update(body).digest("base64");
    if (given.some((one) => same(expected, one))) return;
  }
  throw new Refused(401, "no secret of ours made this webhook-signature");
}

/** Do the work once for each key; return whether this was the first time. */
function take(key, event) {
  // One transaction: a crash or an error below undoes both, the key and the work.
  database.exec("BEGIN IMMEDIATE");
  try {
    const { changes } = database
      .prepare("INSERT INTO taken VALUES (?, ?) ON CONFLICT DO NOTHING")
      .run(key, Date.now() / 1000);
    if (changes) work(event);
    database.exec("COMMIT");
    return Boolean(changes);
  } catch (error) {
    try {
      database.exec("ROLLBACK");
    } catch {
      // SQLite has done it by itself, as it does when the disk is full.
    }
    throw error;
  }
}

/** Keep the last word on each workflow, in whatever order events come. */
function work(event) {
  if (event.type !== "workflow-completed") return;
  const { id, name, status } = event.workflow;
  database
    .prepare(
      `INSERT INTO workflows VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
       SET status = excluded.status, happened_at = excluded.happened_at
       WHERE excluded.happened_at > workflows.happened_at`,
    )
    .run(id, event.project.slug, name, status, event.happened_at);
}

/** Read the whole body, as bytes, or refuse it. */
async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= LONGEST) chunks.push(chunk);
    // Read on, within reason: an answer before the end would be lost with the connection.
    else if (length > 16 * LONGEST) break;
  }
  if (length > LONGEST) throw new Refused(413, `over ${LONGEST} bytes`);
  return Buffer.concat(chunks);
}

/** Return the event of body; what can never be read is refused for good, with 400. */
function parsed(body) {
  let event;
  try {
    event = JSON.parse(body);
  } catch {
    throw new Refused(400, "no JSON");
  }
  if (typeof event?.id !== "string") throw new Refused(400, "no event");
  return event;
}

/** Take one request, or throw Refused; return whether its event is new. */
async function receive(request) {
  const { url, headers } = request;
  const body = await read(request);
  if (url === "/circleci") verifyCircleci(body, headers);
  else if (url === "/signed") verifySigned(body, headers);
  else throw new Refused(404, "no such path");
  const event = parsed(body);
  if (headers["relay-test"]) return false; // from `circleci-relay send --to`: nothing happened
  // Only what is signed can be trusted: CircleCI's signature does not cover webhook-id.
  return take(url === "/circleci" ? event.id : headers["webhook-id"], event);
}

const server = createServer(async (request, response) => {
  try {
    const isNew = await receive(request);
    response.end(isNew ? "taken\n" : "nothing new\n");
  } catch (error) {
    if (request.errored) return; // who asked has gone, in the midst of the body
    // What else goes wrong is a 500, and comes again.
    if (!(error instanceof Refused)) console.error(error);
    response.statusCode = error.status ?? 500;
    response.end(`${error instanceof Refused ? error.message : "failed"}\n`);
  }
});

if (!CIRCLECI.length && !SIGNED.length) {
  console.error("set CIRCLECI_WEBHOOK_SECRETS or RELAY_SIGNING_SECRETS");
  process.exit(1);
}
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
