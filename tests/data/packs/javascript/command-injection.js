const cp = require("child_process");
const { exec, execFile, execSync } = require("child_process");
const vm = require("vm");

app.get("/ping", (req, res) => {
  const host = req.query.host;
  // ruleid: javascript-command-injection
  exec("ping -c 1 " + host, done);
  // ruleid: javascript-command-injection
  cp.execSync(`ping -c 1 ${req.body.host}`);
  // ok: javascript-command-injection
  execFile("ping", ["-c", "1", host], done);
  // ok: javascript-command-injection
  cp.spawn("ping", ["-c", "1", host]);
  // ok: javascript-command-injection
  const parts = /^a(.*)$/.exec(host);
});

function compress(file, level) {
  // ruleid: javascript-command-injection-shell-argument
  execSync(`gzip ${file}`);
  // ruleid: javascript-command-injection-shell-argument
  cp.exec("gzip " + file, done);
  // ok: javascript-command-injection-shell-argument
  execFile("gzip", [file], done);
  // ok: javascript-command-injection-shell-argument
  cp.exec("gzip -" + Number(level) + " all", done);
}

app.post("/sum", (req, res) => {
  // ruleid: javascript-command-injection-code
  const one = eval(req.body.expression);
  const code = req.body.code;
  // ruleid: javascript-command-injection-code
  const two = vm.runInNewContext(code);
  // ok: javascript-command-injection-code
  const three = JSON.parse(req.body.data);
  // ok: javascript-command-injection-code
  const four = vm.runInNewContext("1 + 1", { code });
});
