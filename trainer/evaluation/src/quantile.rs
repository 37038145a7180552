//! Quantiles of sorted numbers.

/// The value below which a share `share` of the sorted numbers lies, by linear interpolation between neighbours (type 7 of
/// Hyndman & Fan, *Sample quantiles in statistical packages*, 1996, which is NumPy's); NaN of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_interpolate() {
        let found = [quantile(&[0.0, 1.0, 2.0, 3.0], 0.5), quantile(&[7.0], 0.025), quantile(&[1.0, 2.0], 1.0)];
        assert!(found.iter().zip([1.5, 7.0, 2.0]).all(|(found, expected)| (found - expected).abs() < 1e-12));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
