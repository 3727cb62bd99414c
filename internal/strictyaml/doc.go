// Package strictyaml reads the YAML that people write: the configuration and
// the CA catalogs, which it also writes, with their comments. It is the only door to
// the YAML library.
//
// Of YAML it takes one document of maps, lists, text, whole numbers and true or
// false. Anchors, aliases, tags, merge keys, null, dates and fractions are
// refused, and so are unknown and repeated keys: a file never means something
// else than what it shows. Every mistake is reported, with its line.
//
// # Trust
//
// Input may come from somebody else (a catalog that was sent to us). It can
// cost memory and time in proportion to its size, which the caller limits, and 300 MB
// for nodes; nesting is bounded. Text that reaches the caller has
// only printable characters, so it can be shown as it is.
package strictyaml
