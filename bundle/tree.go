package bundle

import "github.com/sealsmith/sealsmith/internal/limits"

// Branch is a certificate of a set with those that it issued.
type Branch struct {
	Index int // in the set
	// Normalised is that of the [Link] to the certificate above.
	Normalised bool
	// Elsewhere says that what it issued is shown where the certificate stands
	// once more: before, or on top because here it would be too deep.
	Elsewhere bool
	Issued    []Branch
}

// Forest puts certificates below those that issued them, in the order of the set.
// On top are those that are self-signed or have no issuer in the set, and then the
// first of each loop. A certificate with several issuers is below each of them, but
// only once with what it issued itself. So the forest is no larger than the graph,
// and no deeper than a chain may be long.
func (g *Graph) Forest() []Branch {
	f := forest{make([][]Branch, len(g.links)), make([]bool, len(g.links))}
	var tops, loops []int
	for i := range g.links {
		issuers := g.Issuers(i)
		if g.SelfSigned(i) || len(issuers) == 0 {
			tops = append(tops, i)
			continue
		}
		loops = append(loops, i)
		for _, l := range issuers {
			f.issued[l.Issuer] = append(f.issued[l.Issuer], Branch{Index: i, Normalised: l.Normalised})
		}
	}
	var all []Branch
	for _, i := range append(tops, loops...) {
		if !f.placed[i] {
			all = append(all, f.grow(Branch{Index: i}, 1))
		}
	}
	return all
}

// forest is what is known of each certificate while the branches grow.
type forest struct {
	issued [][]Branch
	placed []bool // with what it issued
}

func (f *forest) grow(b Branch, depth int) Branch {
	i := b.Index
	if len(f.issued[i]) > 0 && (f.placed[i] || depth == limits.BundleChain) {
		b.Elsewhere = true
		return b
	}
	f.placed[i] = true
	for _, issued := range f.issued[i] {
		b.Issued = append(b.Issued, f.grow(issued, depth+1))
	}
	return b
}
