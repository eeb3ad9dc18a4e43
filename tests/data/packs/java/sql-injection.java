package samples;

class AccountServlet extends HttpServlet {
  private final DataSource source;

  protected void doGet(HttpServletRequest request, HttpServletResponse response) throws Exception {
    String owner = request.getParameter("owner");
    Statement statement = source.getConnection().createStatement();
    // ruleid: java-sql-injection
    ResultSet rows = statement.executeQuery("SELECT id FROM account WHERE owner = '" + owner + "'");
    StringBuilder text = new StringBuilder("DELETE FROM account WHERE owner = '");
    text.append(owner).append("'");
    // ruleid: java-sql-injection
    statement.execute(text.toString());
    String order = COLUMNS.getOrDefault(owner, "id");
    // ok: java-sql-injection
    statement.executeQuery("SELECT id FROM account ORDER BY " + order);
    // ruleid: java-missing-input-validation-number
    int number = Integer.parseInt(request.getParameter("number"));
    // ok: java-sql-injection
    statement.executeQuery("SELECT id FROM account LIMIT " + number);
    PreparedStatement bound = source.getConnection().prepareStatement("SELECT id FROM account WHERE owner = ?");
    // ok: java-sql-injection
    bound.setString(1, owner);
  }

  List<Long> named(String name) throws SQLException {
    String sql = "SELECT id FROM account WHERE name = '" + name + "'";
    // ruleid: java-sql-injection-parameter
    ResultSet rows = source.getConnection().createStatement().executeQuery(sql);
    // ruleid: java-sql-injection-parameter
    entityManager.createQuery(String.format("from Account a where a.name = '%s'", name));
    // ok: java-sql-injection-parameter
    entityManager.createQuery("from Account a where a.name = :name").setParameter("name", name);
    return read(rows);
  }

  ResultSet run(String sql) throws SQLException {
    // ok: java-sql-injection-parameter
    return source.getConnection().createStatement().executeQuery(sql);
  }

  ResultSet page(int first) throws SQLException {
    // ok: java-sql-injection-parameter
    return source.getConnection().createStatement().executeQuery("SELECT id FROM account OFFSET " + first);
  }
}
