//! Names that an expression uses and nobody has declared: found when it is compiled, and told as Kubernetes does.

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::Declared;

/// Names of types, which stand for themselves.
const TYPES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "uint",
];
const ALWAYS: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];
/// What functions' names begin with.
const PREFIXES: [&str; 10] = [
    "base64",
    "cel",
    "format",
    "ip",
    "jsonpatch",
    "lists",
    "math",
    "optional",
    "sets",
    "strings",
];

/// Checks the names of a tree.
pub(super) fn check(tree: &IdedExpr, source: &str, declared: &Declared<'_>) -> Result<(), String> {
    let mut finder = Finder {
        source,
        declared,
        only: None,
        bound: Vec::new(),
    };
    finder.walk(tree)
}

/// Checks that a tree is about one thing, by this name.
pub(super) fn check_about(tree: &IdedExpr, source: &str, name: &str) -> Result<(), String> {
    let mut finder = Finder {
        source,
        declared: &Declared::default(),
        only: Some(name),
        bound: Vec::new(),
    };
    finder.walk(tree)
}

/// The fields that a tree selects of the name `of`.
pub(super) fn selected(tree: &IdedExpr, of: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(tree, of, &mut found);
    found
}

fn collect(tree: &IdedExpr, of: &str, found: &mut Vec<String>) {
    let is_it = |operand: &IdedExpr| matches!(&operand.expr, Expr::Ident(name) if name == of);
    let entry = |entry: &EntryExpr, found: &mut Vec<String>| match entry {
        EntryExpr::MapEntry(entry) => {
            collect(&entry.key, of, found);
            collect(&entry.value, of, found);
        }
        EntryExpr::StructField(field) => collect(&field.value, of, found),
    };
    match &tree.expr {
        Expr::Select(select) => {
            if is_it(&select.operand) {
                found.push(select.field.clone());
            }
            collect(&select.operand, of, found);
        }
        Expr::Call(call) => {
            if call.func_name == operators::OPT_SELECT
                && let [operand, field] = &call.args[..]
                && is_it(operand)
                && let Expr::Literal(LiteralValue::String(field)) = &field.expr
            {
                found.push(field.to_string());
            }
            if let Some(target) = &call.target {
                collect(target, of, found);
            }
            call.args.iter().for_each(|argument| collect(argument, of, found));
        }
        Expr::List(list) => list.elements.iter().for_each(|element| collect(element, of, found)),
        Expr::Map(map) => map.entries.iter().for_each(|one| entry(&one.expr, found)),
        Expr::Struct(literal) => literal.entries.iter().for_each(|one| entry(&one.expr, found)),
        Expr::Comprehension(fold) => {
            for part in [
                &fold.iter_range,
                &fold.accu_init,
                &fold.loop_cond,
                &fold.loop_step,
                &fold.result,
            ] {
                collect(part, of, found);
            }
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

struct Finder<'a> {
    source: &'a str,
    declared: &'a Declared<'a>,
    /// The one name that there is instead of a request's.
    only: Option<&'a str>,
    /// The variables of the comprehensions around.
    bound: Vec<String>,
}

impl Finder<'_> {
    fn walk(&mut self, tree: &IdedExpr) -> Result<(), String> {
        match &tree.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                if let Expr::Ident(name) = &select.operand.expr
                    && name == "variables"
                    && !self.is_bound(name)
                {
                    return self.variable(&select.field);
                }
                self.walk(&select.operand)
            }
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    let is_prefix = matches!(&target.expr, Expr::Ident(name) if PREFIXES.contains(&name.as_str()));
                    if !is_prefix {
                        self.walk(target)?;
                    }
                }
                call.args.iter().try_for_each(|argument| self.walk(argument))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.walk(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(literal) => {
                let root = literal.type_name.split('.').next().unwrap_or_default();
                if !self.declared.patches || !matches!(root, "Object" | "JSONPatch") {
                    return Err(self.undeclared(&literal.type_name));
                }
                literal.entries.iter().try_for_each(|entry| self.entry(&entry.expr))
            }
            Expr::Comprehension(fold) => {
                self.walk(&fold.iter_range)?;
                self.walk(&fold.accu_init)?;
                let before = self.bound.len();
                self.bound.extend([fold.iter_var.clone(), fold.accu_var.clone()]);
                self.bound.extend(fold.iter_var2.clone());
                let inner = [&fold.loop_cond, &fold.loop_step, &fold.result];
                let walked = inner.into_iter().try_for_each(|part| self.walk(part));
                self.bound.truncate(before);
                walked
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), String> {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key)?;
                self.walk(&entry.value)
            }
            EntryExpr::StructField(field) => self.walk(&field.value),
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }

    fn name(&self, name: &str) -> Result<(), String> {
        let known = self.is_bound(name)
            || self.only.map_or_else(|| ALWAYS.contains(&name), |only| only == name)
            || TYPES.contains(&name)
            || (name == "params" && self.declared.params)
            || (name == "authorizer" && self.declared.authorizer)
            || (name == "variables" && !self.declared.variables.is_empty());
        if known { Ok(()) } else { Err(self.undeclared(name)) }
    }

    fn variable(&self, name: &str) -> Result<(), String> {
        if self.declared.variables.is_empty() {
            return Err(self.undeclared("variables"));
        }
        if self.declared.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(self.told(&format!("undefined field '{name}'"), name))
    }

    fn undeclared(&self, name: &str) -> String {
        self.told(&format!("undeclared reference to '{name}' (in container '')"), name)
    }

    /// An error at the first place of a word, with the line that it is in.
    fn told(&self, why: &str, word: &str) -> String {
        let at = self.source.find(word).unwrap_or(0);
        let before = &self.source[..at];
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let shown = self.source.lines().nth(line).unwrap_or_default();
        format!(
            "ERROR: <input>:{}:{}: {why}\n | {shown}\n | {}^",
            line + 1,
            column + 1,
            ".".repeat(column)
        )
    }
}
