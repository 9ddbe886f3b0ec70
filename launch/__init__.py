"""The machinery behind bin/run and bin/test: set-up, servers, process tree. Never imported by the product."""
