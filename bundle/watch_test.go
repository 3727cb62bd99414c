package bundle

import (
	"fmt"
	"testing"
	"time"
)

func TestExpiring(t *testing.T) {
	at := time.Date(2026, 4, 11, 12, 0, 0, 0, time.UTC)
	certs := []Certificate{testCA(t, "IFX", 0)} // valid to the end of 9999
	for n, days := range []int{91, 90, 1, -1, 0} {
		c := template(int64(n), fmt.Sprint(days))
		c.NotAfter = at.AddDate(0, 0, days)
		certs = append(certs, Certificate{Vendor: "IFX", Name: fmt.Sprint(days), X509: selfSigned(t, c)})
	}
	var names []string
	for _, c := range Expiring(certs, at, 90*24*time.Hour) {
		names = append(names, c.Name)
	}
	if got := fmt.Sprint(names); got != "[-1 0 1 90]" {
		t.Errorf("got %v", got)
	}
}
