package cli

import (
	"slices"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/key"
)

func TestBornFirst(t *testing.T) {
	at := func(name string, year int, imported bool) key.Info {
		return key.Info{Ref: key.Ref{Name: name}, Created: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), Imported: imported}
	}
	infos := []key.Info{at("a", 2023, true), at("b", 2026, false), at("c", 2024, true), at("d", 2025, false)}
	slices.SortStableFunc(infos, bornFirst)
	var order string
	for _, in := range infos {
		order += in.Ref.Name
	}
	if order != "dbac" {
		t.Errorf("the order is %s", order)
	}
}
