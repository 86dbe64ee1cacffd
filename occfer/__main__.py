from occfer.cli import main

main()
