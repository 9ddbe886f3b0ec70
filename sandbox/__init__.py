"""The rehearsal world: mail servers, people who answer, and the clock-keeper. Never imported by the product itself."""
