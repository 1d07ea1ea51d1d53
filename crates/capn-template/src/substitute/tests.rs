use super::*;

fn eval(template: &str) -> String {
    let value = |name: &str| match name {
        "NAME" => Some("demo"),
        "LIST" => Some("[a, b]"),
        "PATH" => Some("/a/b/b.tar.gz"),
        "EMPTY" => Some(""),
        _ => None,
    };
    evaluate(&parse(template).unwrap(), &value)
}

#[test]
fn every_form_matches_shell_substitution() {
    for (template, expected) in [
        ("a ${NAME} b", "a demo b"),
        ("${ NAME }${NAME }${ NAME}", "demodemodemo"),
        ("${NONE:=d}${NONE=d}${NONE:-d}${EMPTY:=d}${NAME:=d}", "dddddemo"),
        ("${NONE:=[10.244.0.0/16]}", "[10.244.0.0/16]"),
        ("${NONE:=\"\"}", "\"\""),
        ("${NONE:= }|", " |"),
        ("${NONE:=x-${NAME}-y}", "x-demo-y"),
        ("${NONE:=${ALSO:=z}}", "z"),
        ("${#NAME}", "4"),
        ("${NAME^}${NAME^^}", "DemoDEMO"),
        ("${NAME:=D}${NAME,}${NAME,,}", "demodemodemo"),
        ("${NAME:1}|${NAME:1:2}|${NAME:9}|${NAME: -2}|${NAME:0:-1}", "emo|em||mo|dem"),
        ("${NAME:x}|${NAME:1:x}", "demo|demo"),
        (
            "${LIST/a/x}|${PATH//b/x}|${PATH/#\\/a/x}|${PATH/%.gz/}",
            "[x, b]|/a/x/x.tar.gz|x/b/b.tar.gz|/a/b/b.tar",
        ),
        (
            "${PATH#*/}|${PATH##*/}|${PATH%.*}|${PATH%%.*}|${NAME%z}",
            "a/b/b.tar.gz|b.tar.gz|/a/b/b.tar|/a/b/b|demo",
        ),
        ("${PATH#?}", "a/b/b.tar.gz"),
        ("$${NAME} $$ $NAME $(x) 5$", "${NAME} $ $NAME $(x) 5$"),
        ("${NONE}|", "|"),
    ] {
        assert_eq!(eval(template), expected, "{template}");
    }
}

#[test]
fn invalid_substitutions_are_refused_with_their_line() {
    for (template, line, says) in [
        ("a\nb ${", 2, "the name must consist of"),
        ("${NAME", 1, "must be followed by `}` or an operator"),
        ("\n\n${NAME:=x", 3, "is not closed by"),
        ("${A$B}", 1, "must be followed by `}` or an operator"),
        ("${NAME:?no}", 1, "only the operators := = and :-"),
        ("${NAME-x}", 1, "only the operators := = and :-"),
        ("${ NAME :=x}", 1, "only `}` may follow"),
        ("${}", 1, "the name must consist of"),
    ] {
        let error = parse(template).unwrap_err();
        assert_eq!(error.line, line, "{template}: {error}");
        assert!(error.to_string().contains(says), "{template}: {error}");
        assert!(error.to_string().ends_with("a literal dollar sign"), "{error}");
    }
}

#[test]
fn the_first_occurrence_decides_the_default() {
    let segments = parse("${A} ${A:=x} ${B:=y} ${B} ${C:=${D}} ${E:=}").unwrap();
    let found: Vec<(String, Option<String>)> = defaults(&segments).into_iter().collect();
    let expected =
        [("A", None), ("B", Some("y")), ("C", Some("${D}")), ("D", Some("")), ("E", None)];
    assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.map(str::to_owned))));
}
