// The same create by the vendor's JavaScript client: `measuring` has Node run this.
//
//     node vendor.js '{"url": "http://127.0.0.1:8080", "app": "5d8c", "userId": "7494",
//         "inFlight": 64, "seconds": 1}'
//
// Once it is warm it prints what a create costs: [CPU in µs, creates a second, the most memory in
// MB]. "authority" is the file of who signed the server's certificate, if it has one; "keepAlive"
// is whether its user has given it an agent that keeps connections.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { setTimeout } = require("node:timers/promises");
const vendor = require("sunshine-conversations-client");

const WARM = 2; // seconds, at least: so long V8 compiles, which doubles what a create costs

const { url, authority, app, userId, inFlight, seconds, keepAlive } = JSON.parse(process.argv[2]);

const client = vendor.ApiClient.instance;
client.basePath = url;
Object.assign(client.authentications.basicAuth, { username: "key", password: "secret" });
// Without an agent of its user's, the client makes a connection for each call.
if (keepAlive || authority) {
  const options = { keepAlive, maxSockets: inFlight };
  client.requestAgent = authority
    ? new https.Agent({ ...options, ca: fs.readFileSync(authority) })
    : new http.Agent(options);
}
const users = new vendor.UsersApi();

let count = 0;
let over = false;

async function work() {
  while (!over) {
    const profile = new vendor.Profile();
    profile.givenName = "Jane";
    profile.surname = "Doe";
    profile.email = "jane@example.com";
    const body = new vendor.UserCreateBody(`jane-${count}`);
    body.profile = profile;
    body.metadata = { tier: "gold", age: 42 };
    const answer = await users.createUser(app, body);
    if (answer.user.id !== userId) throw new Error(`the answer has id ${answer.user.id}`);
    count += 1;
  }
}

async function main() {
  const workers = Array.from({ length: inFlight }, work);
  const failed = Promise.all(workers); // ends first only where a call fails
  const pause = (length) => Promise.race([setTimeout(length * 1000), failed]);
  await pause(Math.max(seconds / 4, WARM));
  const before = process.cpuUsage();
  const [began, first] = [performance.now(), count];
  await pause(seconds);
  const calls = count - first;
  const { user, system } = process.cpuUsage(before);
  const rate = (calls / (performance.now() - began)) * 1000;
  over = true;
  await failed;
  const memory = process.resourceUsage().maxRSS / 1000;
  console.log(JSON.stringify([(user + system) / calls, rate, memory]));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
