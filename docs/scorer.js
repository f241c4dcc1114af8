// Search finds the pages for users first.  Of the laboratory, the runbooks and the changelog a title comes after the
// titles and before the texts of other pages, and a text comes last.
// Sphinx wants the whole object; all values but `score` are those of its searchtools.js.
var Scorer = {
  score: ([docname, , , , score]) =>
    /^(lab|runbooks|changelog)\b/.test(docname) ? score - 8 : score,
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
