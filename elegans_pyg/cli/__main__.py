from elegans_pyg.cli import main

main()
