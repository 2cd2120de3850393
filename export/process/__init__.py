"""Writers and runtimes in processes of their own."""
