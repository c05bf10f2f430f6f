//! adit as a Docker network driver.
