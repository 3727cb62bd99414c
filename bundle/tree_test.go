package bundle

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// graph makes a graph of links: for each certificate, those that issued it. A star
// is for a name that is equal only by RFC 5280.
func graph(links ...string) *Graph {
	g := &Graph{make([][]Link, len(links))}
	for i, text := range links {
		for _, issuer := range strings.Fields(text) {
			var l Link
			if _, err := fmt.Sscanf(issuer, "%d", &l.Issuer); err != nil {
				panic(err)
			}
			l.Normalised = strings.HasSuffix(issuer, "*")
			g.links[i] = append(g.links[i], l)
		}
	}
	return g
}

// drawn is a forest in one line: what was issued in brackets, "+" for what is
// elsewhere.
func drawn(branches []Branch) string {
	var all []string
	for _, b := range branches {
		text := fmt.Sprint(b.Index)
		if b.Normalised {
			text += "*"
		}
		if b.Elsewhere {
			text += "+"
		}
		if len(b.Issued) > 0 {
			text += "(" + drawn(b.Issued) + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestForest(t *testing.T) {
	deep := []string{"0"}
	for i := range limits.BundleChain {
		deep = append(deep, fmt.Sprint(i))
	}
	for name, c := range map[string]struct {
		g    *Graph
		want string
	}{
		"none":                        {graph(), ""},
		"chain in any order":          {graph("1", "2*", "2"), "2(1*(0))"},
		"no issuer":                   {graph("", "0", ""), "0(1) 2"},
		"two issuers":                 {graph("0", "1", "0 1", "2"), "0(2(3)) 1(2+)"},
		"two issuers, nothing issued": {graph("0", "1", "0 1"), "0(2) 1(2)"},
		"two roots with one key":      {graph("0 1", "0 1", "0 1"), "0(2) 1(2)"},
		"cross-certificate":           {graph("0 2", "1", "1", "0 2"), "0(3) 1(2(3))"},
		"loop":                        {graph("1", "2", "0", "0"), "0(2(1(0+)) 3)"},
		"loop beside a chain":         {graph("1", "0", "", "2"), "2(3) 0(1(0+))"},
		"too deep":                    {graph(deep...), "0(1(2(3(4(5(6(7+))))))) 7(8)"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, drawn(c.g.Forest())); diff != "" {
				t.Error(diff)
			}
		})
	}
}
