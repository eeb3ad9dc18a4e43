require "sinatra"

get "/users" do
  db = SQLite3::Database.new("users.db")
  # ruleid: ruby-sql-injection
  db.execute("SELECT * FROM users WHERE name = '#{params[:name]}'")
  # ok: ruby-sql-injection
  db.execute("SELECT * FROM users WHERE name = ?", [params[:name]])
end

get "/people" do
  conn = PG.connect(dbname: "people")
  sql = "SELECT * FROM people WHERE id = " + params["id"]
  # ruleid: ruby-sql-injection
  conn.exec(sql)
  # ok: ruby-sql-injection
  conn.exec_params("SELECT * FROM people WHERE id = $1", [params["id"]])
  # ok: ruby-sql-injection
  conn.exec("SELECT * FROM people WHERE name = '#{conn.escape_string(params["name"])}'")
  # ok: ruby-sql-injection
  index.query(params["text"])
end
