package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// days is a flag's value: a number of days, as in 90d.
type days time.Duration

var _ pflag.Value = new(days)

// String implements [pflag.Value].
func (d *days) String() string { return fmt.Sprintf("%dd", time.Duration(*d)/(24*time.Hour)) }

// Type implements [pflag.Value].
func (d *days) Type() string { return "days" }

// Set implements [pflag.Value].
func (d *days) Set(text string) error {
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "d"), 10, 16)
	if err != nil {
		return fmt.Errorf("%.40q is not a number of days such as 90d", text)
	}
	*d = days(time.Duration(n) * 24 * time.Hour)
	return nil
}
