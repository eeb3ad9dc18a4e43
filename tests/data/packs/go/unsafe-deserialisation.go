package samples

func receive(w http.ResponseWriter, r *http.Request) {
	// ruleid: go-unsafe-deserialisation
	decoder := gob.NewDecoder(r.Body)
	// ruleid: go-unsafe-deserialisation
	err := gob.NewDecoder(r.Body).Decode(&order)
	// ok: go-unsafe-deserialisation
	err = json.NewDecoder(r.Body).Decode(&order)
}

func load(file *os.File) error {
	// ok: go-unsafe-deserialisation
	return gob.NewDecoder(file).Decode(&state)
}
