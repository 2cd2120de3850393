"""Writers and runtimes in separate processes."""
