package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
)

// detail is a value that was another before. Without was it is only told, and
// without is it can be seen elsewhere.
type detail struct{ what, was, is string }

// text writes a detail, with its values as quote writes them.
func (d detail) text(quote func(string) string) string {
	switch {
	case d.is == "":
		return "was " + quote(d.was)
	case d.was == "":
		return strings.TrimSpace(d.what + " " + quote(d.is))
	}
	return fmt.Sprintf("%s %s -> %s", d.what, quote(d.was), quote(d.is))
}

// changeDetails says in a few words what is different, or what came and went, with
// the values as quote writes them.
func changeDetails(c bundle.Change, digests bool, quote func(string) string) ([]string, error) {
	now, err := bundle.Summarise(subjectOf(c).X509)
	if err != nil {
		return nil, err
	}
	was := now
	details := []detail{{is: now.Key}, {what: "until", is: day(now.NotAfter)}}
	if c.Old != nil && c.New != nil {
		if was, err = bundle.Summarise(c.Old.X509); err != nil {
			return nil, err
		}
		details = differences(c, was, now)
	}
	if m := c.SameKey; m != nil {
		details = append(details, detail{what: "same key as" + placeBeside(m, subjectOf(c)), is: m.Name})
	}
	if digests {
		details = append(details, otherOnly("SHA-256", was.SHA256, now.SHA256))
	}
	var texts []string
	for _, d := range details {
		texts = append(texts, d.text(quote))
	}
	return texts, nil
}

// differences are those between the two certificates of a change.
func differences(c bundle.Change, was, now bundle.Summary) []detail {
	var details []detail
	for _, d := range []detail{
		{was: kindText(c.Old.Kind), is: kindText(c.New.Kind)},
		{was: c.Old.Vendor, is: c.New.Vendor},
		{was: c.Old.Name, is: c.New.Name},
	} {
		if d.was != d.is {
			details = append(details, detail{was: d.was})
		}
	}
	for _, d := range []detail{
		{"issued by", was.Issuer, now.Issuer},
		{"serial", was.Serial, now.Serial},
		timeDetail("from", was.NotBefore, now.NotBefore),
		timeDetail("until", was.NotAfter, now.NotAfter),
		{"signed with", c.Old.X509.SignatureAlgorithm.String(), c.New.X509.SignatureAlgorithm.String()},
	} {
		if d.was != d.is {
			details = append(details, d)
		}
	}
	if len(c.Extensions) > 0 {
		details = append(details, detail{what: "other extensions", is: strings.Join(c.Extensions, " ")})
	}
	return details
}

// timeDetail shows days, or what else makes the difference.
func timeDetail(what string, was, is time.Time) detail {
	layout := time.DateOnly
	if day(was) == day(is) {
		layout = time.RFC3339
	}
	return detail{what, was.Format(layout), is.Format(layout)}
}

// placeBeside says where a member is, as far as it is elsewhere than another.
func placeBeside(m, other *bundle.Member) string {
	place := ""
	if m.Vendor != other.Vendor {
		place = " " + m.Vendor
	}
	if m.Kind != other.Kind {
		place += " " + kindText(m.Kind)
	}
	return place
}

// otherOnly is told only, where the value is the same as before.
func otherOnly(what, was, is string) detail {
	if was == is {
		was = ""
	}
	return detail{what, was, is}
}
