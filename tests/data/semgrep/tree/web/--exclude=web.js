const { exec } = require("child_process");

function show(req, res) {
  exec("convert " + req.query.name, () => res.end()); // nosemgrep
}

module.exports = { show };
