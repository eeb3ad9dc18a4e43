const express = require("express");
const app = express();
const SORTABLE = { name: "name" };

app.get("/people", async (req, res) => {
  const name = req.query.name;
  const query = "SELECT * FROM people WHERE name = '" + name + "'";
  // ruleid: javascript-sql-injection
  connection.query(query, done);
  // ruleid: javascript-sql-injection
  await pool.query(`SELECT * FROM people WHERE id = ${req.params.id}`);
  // ruleid: javascript-sql-injection
  await knex.raw("SELECT * FROM people WHERE name = '" + name + "'");
  // ruleid: javascript-sql-injection
  await sequelize.query(`SELECT * FROM people WHERE name = '${name}'`);
  // ok: javascript-sql-injection
  connection.query("SELECT * FROM people WHERE name = ?", [name], done);
  // ok: javascript-sql-injection
  await pool.query({ text: "SELECT * FROM people WHERE id = $1", values: [req.params.id] });
  // ok: javascript-sql-injection
  await sequelize.query("SELECT * FROM people WHERE name = :name", { replacements: { name } });
  // ok: javascript-sql-injection
  connection.query("SELECT * FROM people ORDER BY " + SORTABLE[req.query.sort], done);
  // ok: javascript-sql-injection
  connection.query("SELECT * FROM people LIMIT " + parseInt(req.query.limit, 10), done);
});

function addStudent(db, name, count) {
  // ruleid: javascript-sql-injection-built-query
  db.run(`INSERT INTO student (name) VALUES ('${name}')`);
  // ruleid: javascript-sql-injection-built-query
  db.query("DELETE FROM student WHERE name = '" + name + "'");
  // ok: javascript-sql-injection-built-query
  db.run("INSERT INTO student (name) VALUES (?)", [name]);
  // ok: javascript-sql-injection-built-query
  db.query(`SELECT * FROM student LIMIT ${Number(count)}`);
}
