use crate::compare::Comparison;

pub fn html(_: &Comparison) -> String {
    String::new()
}
