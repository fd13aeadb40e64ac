//! A parsed expression brought into the form that is evaluated. Three things are not as the interpreter has them:
//! selecting a field of what is no map is an error and not `false`; `variables.x` and `authorizer.requestResource` are
//! names of their own; a struct literal is a map that remembers its type.

use kube_cel::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, MapEntryExpr, MapExpr, SelectExpr, operators,
};

use super::functions::{OPTIONAL_SELECT, SELECT};

/// The key under which a map that was a struct literal has the name of its type.
pub(super) const TYPE: &str = "\u{0}type";

/// Rewrites a whole tree.
pub(super) fn rewrite(expression: &mut IdedExpr) {
    let taken = std::mem::take(&mut expression.expr);
    expression.expr = match taken {
        Expr::Select(select) => selection(select),
        Expr::Call(mut call) => {
            if let Some(target) = &mut call.target {
                rewrite(target);
            }
            call.args.iter_mut().for_each(rewrite);
            if call.func_name == operators::OPT_SELECT {
                OPTIONAL_SELECT.clone_into(&mut call.func_name);
            }
            Expr::Call(call)
        }
        Expr::List(mut list) => {
            list.elements.iter_mut().for_each(rewrite);
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            map.entries.iter_mut().for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => {
                    rewrite(&mut entry.key);
                    rewrite(&mut entry.value);
                }
                EntryExpr::StructField(field) => rewrite(&mut field.value),
            });
            Expr::Map(map)
        }
        Expr::Struct(literal) => structure(literal.type_name, literal.entries),
        Expr::Comprehension(mut fold) => {
            for part in [
                &mut fold.iter_range,
                &mut fold.accu_init,
                &mut fold.loop_cond,
                &mut fold.loop_step,
                &mut fold.result,
            ] {
                rewrite(part);
            }
            Expr::Comprehension(fold)
        }
        other @ (Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified) => other,
    };
}

fn selection(mut select: SelectExpr) -> Expr {
    if let Expr::Ident(name) = &select.operand.expr {
        let own = name == "variables" || (name == "authorizer" && select.field == "requestResource");
        match (own, select.test) {
            (true, false) => return Expr::Ident(format!("{name}.{}", select.field)),
            // What is declared is there.
            (true, true) => return Expr::Literal(LiteralValue::Boolean(true.into())),
            (false, _) => {}
        }
    }
    rewrite(&mut select.operand);
    if select.test {
        return Expr::Select(select);
    }
    Expr::Call(CallExpr {
        func_name: SELECT.to_owned(),
        target: None,
        args: vec![*select.operand, text(&select.field)],
    })
}

fn structure(name: String, fields: Vec<IdedEntryExpr>) -> Expr {
    let mut entries = vec![entry(TYPE, text(&name), false)];
    for field in fields {
        if let EntryExpr::StructField(mut field) = field.expr {
            rewrite(&mut field.value);
            entries.push(entry(&field.field, field.value, field.optional));
        }
    }
    Expr::Map(MapExpr { entries })
}

fn entry(key: &str, value: IdedExpr, optional: bool) -> IdedEntryExpr {
    IdedEntryExpr {
        id: 0,
        expr: EntryExpr::MapEntry(MapEntryExpr {
            key: text(key),
            value,
            optional,
        }),
    }
}

fn text(text: &str) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::String(text.into())),
    }
}
