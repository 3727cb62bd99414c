package bundle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/strictyaml"
)

// FormatCatalog returns a catalog in its normal form: vendors by id, certificates
// by name, keys in one order, text in double quotes, and the comments with what they
// belong to. It means the same, and formatting it again changes nothing.
func FormatCatalog(data []byte) ([]byte, error) {
	r := readCatalog(data)
	if err := r.err(); err != nil {
		return nil, err
	}
	return r.format(data)
}

// format writes a catalog without mistakes.
func (r *catalogReader) format(data []byte) ([]byte, error) {
	d, err := commented(data)
	if err != nil {
		return nil, err
	}
	out, err := encodeCatalog(d, r.entries)
	if err == nil && len(lostComments(data, out)) > 0 {
		err = errUnsettled
	}
	return out, err
}

// commented reads a catalog with its comments.
func commented(data []byte) (*catalogDocument, error) {
	d := &catalogDocument{}
	return d, strictyaml.DecodeCommented(data, d)
}

// InsertEntry returns a catalog with one more entry, in normal form. The entry must
// have nothing in common with another.
func InsertEntry(data []byte, e Entry) ([]byte, error) {
	r := readCatalog(data)
	if err := r.err(); err != nil {
		return nil, err
	}
	name, known := VendorName(e.Vendor)
	if !known {
		return nil, fmt.Errorf("vendor id %s is not in the TCG registry", quote(e.Vendor))
	}
	if conflict := (&Catalog{r.entries}).Conflict(e); conflict != "" {
		return nil, errors.New(conflict)
	}
	d, err := commented(data)
	if err != nil {
		return nil, err
	}
	vendors := &d.Value.Vendors.Value
	i := slices.IndexFunc(*vendors, func(v strictyaml.Located[vendorItem]) bool { return v.Value.ID.Value == e.Vendor })
	if i < 0 {
		i = len(*vendors)
		added := vendorItem{ID: text{Value: e.Vendor}, Name: text{Value: name}}
		*vendors = append(*vendors, strictyaml.Located[vendorItem]{Value: added})
	}
	certificates := &(*vendors)[i].Value.Certificates.Value
	*certificates = append(*certificates, newCertificateItem(e, r.beta))
	out, err := encodeCatalog(d, append(r.entries, e))
	if err == nil && len(lostComments(data, out)) > 0 {
		err = errUnsettled
	}
	return out, err
}

// newCertificateItem writes an entry as it stands in a file.
func newCertificateItem(e Entry, beta bool) strictyaml.Located[certificateItem] {
	c := certificateItem{
		Name: text{Value: e.Name}, Description: text{Value: e.Description}, URL: text{Value: e.URL}, Notes: text{Value: e.Notes},
	}
	if beta {
		c.URL, c.URI = c.URI, c.URL
	}
	if e.Status == Historic {
		c.Status.Value = string(Historic)
	}
	for _, link := range e.Evidence {
		c.Evidence.Value = append(c.Evidence.Value, text{Value: link})
	}
	for _, id := range e.Exceptions {
		c.Exceptions.Value = append(c.Exceptions.Value, text{Value: id})
	}
	for _, pin := range c.Validation.Value.Fingerprint.Value.pins() {
		if f, pinned := e.pin(pin.hash); pinned {
			pin.text.Value = f.String()
		}
	}
	return strictyaml.Located[certificateItem]{Value: c}
}

// DeleteEntry returns a catalog without the entry of that vendor and name, in normal
// form, and the comments that went with it. A vendor without certificates goes, too.
func DeleteEntry(data []byte, vendor, name string) (out []byte, comments []string, err error) {
	r := readCatalog(data)
	if err := r.err(); err != nil {
		return nil, nil, err
	}
	is := func(e Entry) bool { return e.Vendor == vendor && e.Name == name }
	if !slices.ContainsFunc(r.entries, is) {
		return nil, nil, fmt.Errorf("the catalog has no %s certificate %s", quote(vendor), quote(name))
	}
	if len(r.entries) == 1 {
		return nil, nil, hint.Wrap(errors.New("a catalog cannot be empty, and this is its only certificate"), "remove the file")
	}
	d, err := commented(data)
	if err != nil {
		return nil, nil, err
	}
	vendors := &d.Value.Vendors.Value
	for i := range *vendors {
		v := &(*vendors)[i].Value
		if v.ID.Value == vendor {
			v.Certificates.Value = slices.DeleteFunc(v.Certificates.Value, func(c strictyaml.Located[certificateItem]) bool { return c.Value.Name.Value == name })
		}
	}
	*vendors = slices.DeleteFunc(*vendors, func(v strictyaml.Located[vendorItem]) bool {
		return v.Value.ID.Value == vendor && len(v.Value.Certificates.Value) == 0
	})
	out, err = encodeCatalog(d, slices.DeleteFunc(r.entries, is))
	return out, lostComments(data, out), err
}

// encodeCatalog sorts a document and writes it. It makes sure that the result means
// the entries and stays as it is when it is formatted again.
func encodeCatalog(d *catalogDocument, want []Entry) ([]byte, error) {
	vendors := d.Value.Vendors.Value
	slices.SortStableFunc(vendors, func(a, b strictyaml.Located[vendorItem]) int {
		return cmp.Compare(a.Value.ID.Value, b.Value.ID.Value)
	})
	for _, v := range vendors {
		slices.SortStableFunc(v.Value.Certificates.Value, func(a, b strictyaml.Located[certificateItem]) int {
			return cmp.Compare(a.Value.Name.Value, b.Value.Name.Value)
		})
	}
	out := strictyaml.Encode(d)
	r := readCatalog(out)
	if err := r.err(); err != nil {
		return nil, fmt.Errorf("the normal form: %w", err)
	}
	again, err := commented(out)
	if err != nil || !bytes.Equal(strictyaml.Encode(again), out) {
		return nil, errUnsettled
	}
	return out, sameEntries(r.entries, want)
}

// errUnsettled is a comment in an unusual place.
var errUnsettled = hint.Wrap(errors.New("a comment would not stay where it is"), "put comments on lines of their own, above what they belong to")

// sameEntries compares what two files mean.
func sameEntries(got, want []Entry) error {
	sorted := func(all []Entry) []Entry {
		all = slices.Clone(all)
		for i := range all {
			all[i].Line = 0
			all[i].Status = cmp.Or(all[i].Status, Current)
		}
		slices.SortFunc(all, compareEntries)
		return all
	}
	if !reflect.DeepEqual(sorted(got), sorted(want)) {
		return errors.New("the catalog would not mean the same after it is written")
	}
	return nil
}

// lostComments are the comments of a file that another does not have.
func lostComments(old, changed []byte) []string {
	left := map[string]int{}
	for _, c := range strictyaml.CommentLines(changed) {
		left[c]++
	}
	var lost []string
	for _, c := range strictyaml.CommentLines(old) {
		if left[c]--; left[c] < 0 {
			lost = append(lost, c)
		}
	}
	return lost
}
