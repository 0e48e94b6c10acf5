module example.com/backup-tool

go 1.19
