//! One implementation of the functions whose last digit differs between math libraries.
//!
//! Not reached from here: the `**` operator, which the engine computes with the platform's `pow`. Whole-number powers
//! whose result fits a double are exact with every known library; for fractions use `Math.pow`, which is this one.

use rquickjs::{Ctx, Function, Object, Result};

type One = fn(f64) -> f64;
type Two = fn(f64, f64) -> f64;

/// An object with the functions, for the world inside.
pub(crate) fn object<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    let one: [(&str, One); 20] = [
        ("acos", libm::acos),
        ("acosh", libm::acosh),
        ("asin", libm::asin),
        ("asinh", libm::asinh),
        ("atan", libm::atan),
        ("atanh", libm::atanh),
        ("cbrt", libm::cbrt),
        ("cos", libm::cos),
        ("cosh", libm::cosh),
        ("exp", libm::exp),
        ("expm1", libm::expm1),
        ("log", libm::log),
        ("log10", libm::log10),
        ("log1p", libm::log1p),
        ("log2", libm::log2),
        ("sin", libm::sin),
        ("sinh", libm::sinh),
        ("sqrt", libm::sqrt),
        ("tan", libm::tan),
        ("tanh", libm::tanh),
    ];
    for (name, function) in one {
        object.set(name, Function::new(ctx.clone(), function)?)?;
    }
    let two: [(&str, Two); 3] = [("atan2", libm::atan2), ("hypot", libm::hypot), ("pow", libm::pow)];
    for (name, function) in two {
        object.set(name, Function::new(ctx.clone(), function)?)?;
    }
    Ok(object)
}
