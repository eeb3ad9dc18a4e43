package samples;

@RestController
class AccountController {
  private final JdbcTemplate jdbcTemplate;

  @GetMapping("/accounts")
  List<Account> find(@RequestParam("q") String q, @RequestParam int limit, @RequestParam String sort) {
    // ruleid: java-sql-injection
    jdbcTemplate.query("SELECT * FROM account WHERE name LIKE '%" + q + "%'", mapper);
    // ruleid: java-sql-injection
    entityManager.createNativeQuery(String.format("SELECT * FROM account ORDER BY %s", sort));
    // ok: java-sql-injection
    jdbcTemplate.query("SELECT * FROM account WHERE name LIKE ?", mapper, "%" + q + "%");
    // ok: java-sql-injection
    jdbcTemplate.query("SELECT * FROM account LIMIT " + limit, mapper);
    if (!SORTABLE.contains(sort)) {
      throw new IllegalArgumentException();
    }
    // ok: java-sql-injection
    return jdbcTemplate.query("SELECT * FROM account ORDER BY " + sort, mapper);
  }
}
