package samples

func find(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	// ruleid: go-sql-injection
	rows, err := db.Query("SELECT id FROM account WHERE name = '" + name + "'")
	text := fmt.Sprintf("DELETE FROM account WHERE name = '%s'", r.FormValue("name"))
	// ruleid: go-sql-injection
	_, err = db.ExecContext(r.Context(), text)
	// ok: go-sql-injection
	rows, err = db.Query("SELECT id FROM account WHERE name = $1", name)
	number, err := strconv.Atoi(r.FormValue("number"))
	// ok: go-sql-injection
	rows, err = db.Query(fmt.Sprintf("SELECT id FROM account LIMIT %d", number))
	if !slices.Contains(columns, name) {
		return
	}
	// ok: go-sql-injection
	rows, err = db.Query("SELECT id FROM account ORDER BY " + name)
}

func findGin(c *gin.Context, db *gorm.DB) {
	name := c.Query("name")
	// ruleid: go-sql-injection
	db.Where("name = '" + name + "'").Find(&accounts)
	// ruleid: go-sql-injection
	db.Order(c.DefaultQuery("sort", "id")).Find(&accounts)
	// ok: go-sql-injection
	db.Where("name = ?", name).Find(&accounts)
}

func byName(name string) error {
	query := fmt.Sprintf("SELECT id FROM account WHERE name = '%s'", name)
	// ruleid: go-sql-injection-parameter
	rows, err := db.Query(query)
	// ruleid: go-sql-injection-parameter
	err = db.Get(&account, "SELECT * FROM account WHERE name = '"+name+"'")
	// ok: go-sql-injection-parameter
	err = db.Get(&account, "SELECT * FROM account WHERE name = ?", name)
	return err
}

func run(query string, limit int) error {
	// ok: go-sql-injection-parameter
	_, err := db.Exec(query)
	// ok: go-sql-injection-parameter
	_, err = db.Exec(fmt.Sprintf("DELETE FROM account LIMIT %d", limit))
	return err
}
