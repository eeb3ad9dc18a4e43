package samples

func work() error {
	err := step()
	// ruleid: go-swallowed-errors
	if err != nil {
	}
	// ruleid: go-swallowed-errors
	if err := step(); err != nil {
	}
	// ok: go-swallowed-errors
	if err != nil {
		// The next round does it again.
	}
	// ok: go-swallowed-errors
	if err != nil {
		return err
	}
	// ok: go-swallowed-errors
	if err != nil {
	} else {
		done()
	}
	// ruleid: go-swallowed-errors-ignored
	file, _ := os.Open("data.txt")
	// ruleid: go-swallowed-errors-ignored
	rows, _ := db.Query("SELECT id FROM account")
	// ok: go-swallowed-errors-ignored
	file, err = os.Open("data.txt")
	// ok: go-swallowed-errors-ignored
	_, _ = fmt.Println("done")
	// ok: go-swallowed-errors-ignored
	host, _ := os.Hostname()
	// ruleid: go-swallowed-errors-ignored
	asked, _ := http.NewRequest(http.MethodGet, "https://"+host+"/state", nil)
	// ok: go-swallowed-errors-ignored
	fixed, _ := http.NewRequest(http.MethodGet, "https://status.example/state", nil)
	// ok: go-swallowed-errors-ignored
	fixed, _ := http.NewRequestWithContext(ctx, "GET", "https://status.example/state", nil)
	return err
}

func keep(data []byte, tx *sql.Tx) error {
	// ruleid: go-swallowed-errors-discarded
	_ = os.WriteFile("state.json", data, 0o600)
	// ruleid: go-swallowed-errors-discarded
	_ = tx.Commit()
	// ok: go-swallowed-errors-discarded
	_ = os.Remove("state.json.tmp")
	// ok: go-swallowed-errors-discarded
	return os.WriteFile("state.json", data, 0o600)
}
