const { exec } = require("child_process");

function first(req, res) {
  exec("first " + req.query.name, () => res.end());
}

function broken(req, res) {
  const = ) (;
}

function second(req, res) {
  exec("second " + req.query.name, () => res.end());
}
